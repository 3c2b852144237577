"""The worker: readers, scorers, writer and housekeeping in threads of their own.

reader        reads entries while there is room, decodes them, adds them to the frames in flight
scorer        takes the next batch of them by deadline, scores it, hands it to the writer; one for
              each lane of the engine
writer        judges scores by the thresholds in force and publishes verdicts
archiver      writes frames worth a label to the archive, after their verdicts (only with --archive)
housekeeping  sends heartbeats, answers what is past its deadline, takes over from dead workers,
              applies control messages
swap          follows a registry: brings in the engine that it promotes, while the old one judges
              (only with --registry)
"""
