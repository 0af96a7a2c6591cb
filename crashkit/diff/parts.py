"""The parts of a comparison, in the order in which they are shown."""

from __future__ import annotations

from crashkit.diff.read_conntrack import (
    read_connlimit,
    read_settings,
    read_statistics,
)
from crashkit.diff.read_conntrack_table import read_kinds, read_table
from crashkit.diff.read_kernel import read_events, read_files, read_skbs, read_sockets
from crashkit.diff.read_memory import (
    read_beside,
    read_memory,
    read_slabs,
    read_vmalloc,
    read_zones,
)
from crashkit.diff.read_tasks import read_names, read_processes, read_tasks
from crashkit.diff.readings import Missing, Nature, Part

MEMORY, SLABS, ZONES = "memory", "slabs", "zones"
PROCESSES, NAMES_OF_PROCESSES = "processes", "names"

PARTS = (
    Part(key=MEMORY, title="MEMORY", noun="", read=read_memory,
         missing=Missing.NONE_IN_ONE_BUILD),
    Part(key=SLABS, title="SLABS", noun="objects", read=read_slabs),
    Part(key="vmalloc", label="vmalloc by {}", title="VMALLOC", noun="areas", read=read_vmalloc),
    Part(key=PROCESSES, label="process {}", title="PROCESS MEMORY", noun="", read=read_processes),
    Part(key=NAMES_OF_PROCESSES, label="processes called {}", title="PROCESSES",
         noun="processes", read=read_names),
    Part(key="tasks", title="TASKS", noun="tasks", read=read_tasks),
    Part(key="files", title="FILES", noun="", read=read_files, missing=Missing.UNKNOWN),
    Part(key="sockets", label="sockets of {}", title="SOCKETS", noun="sockets", read=read_sockets,
         missing=Missing.NONE_IN_ONE_BUILD),
    Part(key="skbs", label="skbs in queues: {}", title="QUEUED SKBS", noun="skbs", read=read_skbs),
    Part(key="conntrack", label="conntrack, {}", title="CONNTRACK", noun="entries", read=read_table,
         missing=Missing.UNKNOWN),
    Part(key="conntrack_kinds", label="conntrack table, {}", title="CONNTRACK TABLE",
         noun="entries", read=read_kinds),
    Part(key="connlimit", label="connlimit, {}", title="CONNLIMIT", noun="", read=read_connlimit,
         missing=Missing.UNKNOWN),
    Part(key=ZONES, title="ZONES", noun="", read=read_zones, missing=Missing.UNKNOWN),
    Part(key="beside", title="MEMORY, PARTS", noun="", read=read_beside,
         missing=Missing.UNKNOWN),
    Part(key="statistics", title="CONNTRACK EVENTS", noun="", read=read_statistics,
         nature=Nature.SINCE_BOOT, missing=Missing.UNKNOWN),
    Part(key="events", title="EVENTS", noun="", read=read_events,
         nature=Nature.SINCE_BOOT, missing=Missing.UNKNOWN),
    Part(key="settings", title="SETTINGS", noun="", read=read_settings,
         nature=Nature.SETTING, missing=Missing.UNKNOWN),
)  # fmt: skip
