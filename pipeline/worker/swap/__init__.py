"""The swap: how a worker comes from the engine in force to the one that its registry names.

registry  what is asked of a registry of engines, and where fetched files lie
trials    what the line knows of each promotion: tried, held, refused
load      an engine file -> what a worker serves with, if it may judge here
priority  the candidate's threads yield until it judges
shadow    the candidate scores live frames once their verdicts are out
band      whether the candidate's verdicts leave what chance explains: pure
controller  the steps: look, wait for the lease, load, warm, shadow, swap, watch, go back
"""
