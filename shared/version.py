"""The versions both sides compare when they meet. Nothing else belongs here."""

VERSION = "0.1.0"

#: Raised whenever a message type changes in a way that an older peer cannot read.
PROTOCOL = 7

#: The oldest protocol whose messages this version can still read: since then, fields have only been added.
OLDEST_PROTOCOL = 7

#: The oldest whose messages can be read from files: 7 changed only how large ones cross a socket.
OLDEST_FILE = 6
