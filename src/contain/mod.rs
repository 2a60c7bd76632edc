//! Containment of an attempt's processes: a cgroup v2 directory where one may be written, else the process tree; and the identity of a process.
