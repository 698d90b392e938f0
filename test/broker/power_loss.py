"""What a power loss leaves of a folder, made from the notes of forgetful.c.

The disk keeps what was synced: bytes of a file by a sync of the file, names in a folder by a sync of the folder. Of the
rest it keeps any part: names in the order in which they were given, a folder at a time; bytes by blocks, in no
order; a file may have grown without the bytes being there.
"""
import os
import struct

HEAD = struct.Struct("<BiqqI")
BLOCK = 4096


class File:
    def __init__(self):
        self.kept, self.waiting = bytearray(), []  # waiting: (offset, bytes), or (length, None) for a cut

    def put(self, offset, data):
        if data is None:
            del self.kept[offset:]
            self.kept.extend(bytes(offset - len(self.kept)))
            return
        if len(self.kept) < offset + len(data):
            self.kept.extend(bytes(offset + len(data) - len(self.kept)))
        self.kept[offset:offset + len(data)] = data

    def sync(self, count):
        for offset, data in self.waiting[:count]:
            self.put(offset, data)
        del self.waiting[:count]

    def survives(self, chance):
        """Its bytes after the loss."""
        left, share = File(), chance.choice([0, 0.3, 0.7, 1])
        left.kept = bytearray(self.kept)
        length = len(left.kept)
        for offset, data in self.waiting:
            if data is None:
                if chance.random() < share:
                    left.put(offset, None)
                continue
            length = max(length, offset + len(data))
            at = offset
            while at < offset + len(data):
                end = min(offset + len(data), (at // BLOCK + 1) * BLOCK)
                if chance.random() < share:
                    part = data[at - offset:end - offset]
                    left.put(at, part if chance.random() < 0.9 else part[:len(part) // 512 * 512])
                at = end
        if chance.random() < 0.3 and length > len(left.kept):
            left.kept.extend(bytes(length - len(left.kept)))
        return left.kept


class Folder:
    def __init__(self):
        self.kept, self.waiting = {}, []  # name -> File or Folder; waiting: (what, name, thing)

    def apply(self, ops, names):
        for what, name, thing in ops:
            if what == "gives":
                names[name] = thing
            else:
                names.pop(name, None)

    def sync(self, count):
        self.apply(self.waiting[:count], self.kept)
        del self.waiting[:count]

    def survives(self, chance, path):
        os.makedirs(path, exist_ok=True)
        names = dict(self.kept)
        self.apply(self.waiting[:chance.randint(0, len(self.waiting))], names)
        for name, thing in names.items():
            if isinstance(thing, Folder):
                thing.survives(chance, os.path.join(path, name))
            else:
                with open(os.path.join(path, name), "wb") as file:
                    file.write(thing.survives(chance))


class Disk:
    """The folder `root`, which is there and empty when the notes begin."""

    def __init__(self, root):
        self.root, self.top = root, Folder()
        self.now = {root: self.top}  # path -> what it names at this moment
        self.open, self.syncing = {}, {}

    def gives(self, path, thing):
        self.now[path] = thing
        self.now[os.path.dirname(path)].waiting.append(("gives", os.path.basename(path), thing))

    def takes(self, path):
        self.now.pop(path, None)
        self.now[os.path.dirname(path)].waiting.append(("takes", os.path.basename(path), None))

    def note(self, kind, fd, offset, data):
        if kind in "cto":
            path = data.decode()
            if kind == "c":
                self.gives(path, File())
            if kind == "t":
                self.now[path].waiting.append((0, None))
            self.open[fd] = self.now[path]
        elif kind == "x":
            self.open.pop(fd)
        elif kind == "m":
            self.gives(data.decode(), Folder())
        elif kind == "u":
            self.takes(data.decode())
        elif kind == "r":
            before, after = data.decode().split("\0")
            thing = self.now.pop(before)
            folder = self.now[os.path.dirname(before)]
            assert os.path.dirname(before) == os.path.dirname(after)
            self.now[after] = thing
            folder.waiting.append(("gives", os.path.basename(after), thing))
            folder.waiting.append(("takes", os.path.basename(before), None))
        elif kind == "w":
            self.open[fd].waiting.append((offset, data))
        elif kind == "l":
            self.open[fd].waiting.append((offset, None))
        elif kind == "s":
            self.syncing.setdefault(fd, []).append((self.open[fd], len(self.open[fd].waiting)))
        elif kind == "S":
            thing, count = self.syncing[fd].pop()
            thing.sync(count)
            for others in self.syncing.values():  # what they found waiting has been synced in part
                others[:] = [(other, max(0, n - count) if other is thing else n) for other, n in others]


def replay(notes, root, moments, chance, make):
    """Calls make(moment, disk) at each of the rising `moments` (monotonic ns)."""
    disk, at, moments = Disk(root), 0, list(moments)
    while moments and at < len(notes):
        kind, fd, when, offset, length = HEAD.unpack_from(notes, at)
        while moments and when > moments[0]:
            make(moments.pop(0), disk)
        at += HEAD.size
        disk.note(chr(kind), fd, offset, notes[at:at + length])
        at += length
    for moment in moments:
        make(moment, disk)
