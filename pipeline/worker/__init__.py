"""The worker: reader, scorer, writer and keeper in threads of their own.

reader   takes entries while there is room, decodes them, lays them on the tray
scorer   takes the next batch from the tray by deadline, scores it, hands it to the writer
writer   judges, publishes, gives ring slots back
keeper   beats, answers what is past its deadline, takes over from dead workers, hears controls

Every entry that is read leaves through the writer, with exactly one answer. Where Redis is away,
each thread waits and repeats; repeating is safe, because a frame's first answer counts.
"""
