"""The swap: how a worker comes from the engine in force to the one that its registry names.

interfaces       what a swap needs of the worker and of the line
engine_source    what is asked of a registry of engines, and where fetched files lie
history          what the line knows of each promotion: tried, held, refused
start            which engine a worker with a registry begins with
loading          an engine file -> what a worker serves with, if it may judge here
thread_priority  the candidate's threads yield until it judges
shadow           the candidate scores live frames once their verdicts are out
acceptance       whether the candidate's verdicts leave what chance explains: pure
rollout          one candidate's way in: load, warm, shadow, swap, watch, go back
controller       looks at the registry, waits for the lease, starts rollouts
"""
