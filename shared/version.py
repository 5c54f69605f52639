"""The versions both sides compare when they meet. Nothing else belongs here."""

VERSION = "0.1.0"

#: Raised whenever a message type changes in a way that an older peer cannot read.
PROTOCOL = 6

#: The oldest protocol whose messages this version can still read: since then, fields have only been added.
OLDEST_PROTOCOL = 6
