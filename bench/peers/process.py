# What a peer's process says of itself. Memory in MB.
import resource


def allocator():
    """The allocator that this process has preloaded."""
    with open("/proc/self/maps") as maps:
        return "tcmalloc" if "tcmalloc" in maps.read() else "glibc"


def resident_mb():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


def peak_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def forget_peak():
    with open("/proc/self/clear_refs", "w") as marks:
        marks.write("5")
