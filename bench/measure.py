"""What every measurement shares: a process's CPU and memory, as the kernel counts them."""
import os
import pathlib
import threading

TICK = os.sysconf("SC_CLK_TCK")


def children(pid):
    """The process and all below it."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        try:
            for task in pathlib.Path(f"/proc/{one}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            pass
    return found


def rss_mb(pid):
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().split("\n"):
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def pss_mb(pids):
    """Memory of several processes, shared pages counted once."""
    total = 0
    for pid in pids:
        try:
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += next(int(line.split()[1]) for line in text.split("\n") if line.startswith("Pss:"))
        except (OSError, StopIteration):
            pass
    return total / 1024


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Peak(threading.Thread):
    """The largest resident size while it runs."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0.0, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            self.peak = max(self.peak, rss_mb(self.pid))


class Tree(threading.Thread):
    """CPU seconds and the largest resident size of a process and all below it, also once they are gone."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.cpu, self.over = pid, 0.0, {}, threading.Event()

    def run(self):
        while not self.over.wait(0.1):
            total = 0.0
            for pid in children(self.pid):
                try:
                    self.cpu[pid] = cpu_s(pid)
                except OSError:
                    continue
                total += rss_mb(pid)
            self.peak = max(self.peak, total)

    @property
    def cpu_s(self):
        return sum(self.cpu.values())


def show(name, text):
    print(f"{name:<10} {text}", flush=True)


def cpu_ns(pid):
    """CPU of the threads that there are, finer than a tick."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir())
