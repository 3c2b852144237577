"""The worker: readers, scorers, writer and keeper in threads of their own.

reader   takes entries while there is room, decodes them, lays them on the tray
scorer   takes the next batch from the tray by deadline, scores it, hands it to the writer; one for
         each lane of the engine
writer   judges, publishes, gives ring slots back
archivist  writes frames worth a label to the archive, after their verdicts (only with --archive)
keeper   beats, answers what is past its deadline, takes over from dead workers, hears controls
swapper  follows a registry: brings in the engine that it promotes, while the old one judges

Handing a frame from thread to thread takes time, so where nothing else waits a reader has it scored
and the scorer has it published in their own threads.

Every entry that is read leaves through the writer, with exactly one answer. Where Redis is away,
each thread waits and repeats; repeating is safe, because a frame's first answer counts.
"""
