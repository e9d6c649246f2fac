"""The bench: what a verified ingest costs beside the tools that people use today, measured so that it can be believed.

The method, all of it:

- Data is incompressible, each file its own: no file system can make it smaller or share it.
- Memory is touched before anything is timed: a virtual machine is given its memory at the first touch.
- The source is cold before each run: flushed when it was made, its pages dropped just before (``POSIX_FADV_DONTNEED``
  on the bench's own files; the system's other caches, and what a host or a drive remembers, are left alone), and the
  kernel asked (cachestat) whether any is left of a sample of its files. What was seen is told with the figures.
- Contenders are interleaved, in an order drawn anew for each round, so that a machine that slows down slows all.
- One round that does not count comes first, unless it is not wanted.
- Targets are removed after the clock has stopped, and the removal is flushed: mass deletes slow what follows. Those of
  thousands of files stay until the last run of their workload is over, if the disk has room for them.
- `ingest copy` is measured as a whole process through its command line, with a journal of its own, flush and cold
  read-back included; peers are measured as the commands that one would type.
- What is quoted is the median, and the median of the ratios round by round, never a ratio of best times.
- CPU seconds are user and system time of all processes of a contender, as the kernel counts those that have ended.

What it does not promise: that names and inodes are cold (they are not), or that a figure holds on another machine.
"""
