"""The versions both sides compare when they meet. Nothing else belongs here."""

VERSION = "0.1.0"

#: Raised whenever a message type changes in a way that an older peer cannot read.
PROTOCOL = 6
