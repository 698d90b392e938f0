"""A bare connection to a log, for what no client would do."""
import base64
import hashlib
import hmac
import socket
import struct


class Raw:
    """A bare connection: the requests by hand, classic encodings."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def frame(self, data):
        self.socket.sendall(struct.pack(">i", len(data)) + data)

    def answer(self):
        """A whole answer, or None when the connection has ended."""
        data = b""
        while len(data) < 4 or len(data) < 4 + struct.unpack(">i", data[:4])[0]:
            try:
                part = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not part:
                return None
            data += part
        return data[4:]

    def ask(self, key, version, body):
        self.frame(struct.pack(">hhih", key, version, 7, -1) + body)
        return self.answer()

    def handshake(self, mechanism, version=1):
        name = mechanism.encode()
        answer = self.ask(17, version, struct.pack(">h", len(name)) + name)
        return None if answer is None else struct.unpack(">h", answer[4:6])[0]

    def token(self, data):
        """(code, token) of SaslAuthenticate version 0."""
        answer = self.ask(36, 0, struct.pack(">i", len(data)) + data)
        if answer is None:
            return None
        code, length = struct.unpack(">hh", answer[4:8])
        rest = answer[8 + max(length, 0):]
        return code, rest[4:4 + struct.unpack(">i", rest[:4])[0]]

    def scram(self, user, password, exchange=None):
        exchange = exchange or (lambda data: self.token(data))
        if exchange.__name__ == "<lambda>":
            assert self.handshake("SCRAM-SHA-256") == 0
        bare = f"n={user},r=abc"
        code, first = exchange(b"n,," + bare.encode())
        assert code == 0
        parts = dict(part.split("=", 1) for part in first.decode().split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        without = f"c=biws,r={parts['r']}"
        message = ",".join([bare, first.decode(), without]).encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        return exchange(f"{without},p={proof}".encode())

    def metadata(self):
        try:
            return self.ask(3, 1, struct.pack(">i", 0)) is not None
        except BrokenPipeError:
            return False
