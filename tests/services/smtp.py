"""An SMTP server on the standard library, which keeps what it is sent."""

import socketserver
from contextlib import AbstractContextManager
from email import message_from_bytes, policy
from email.message import EmailMessage

from services.serving import serving


class Postbox(socketserver.ThreadingTCPServer):
    """Takes mail as RFC 5321 says, without encryption or passwords."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        self.lines: list[str] = []  # of every conversation, without the mails themselves
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        super().__init__(("127.0.0.1", 0), Conversation)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.server_address[1]}"


class Conversation(socketserver.StreamRequestHandler):
    server: Postbox

    def handle(self) -> None:
        self._say("220 postbox")
        while line := self.rfile.readline().decode().strip():
            self.server.lines.append(line)
            verb = line[:4].upper()
            if verb == "DATA":
                self._say("354 go on")
                self._take()
            if verb == "RCPT":
                self.server.recipients.append(line.partition("<")[2].rstrip(">"))
            self._say("221 bye" if verb == "QUIT" else "250 fine")
            if verb == "QUIT":
                return

    def _take(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line[1:] if line.startswith(b".") else line)
        self.server.mails.append(message_from_bytes(b"".join(lines), policy=policy.default))

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


def postbox() -> AbstractContextManager[Postbox]:
    return serving(Postbox())
