"""One module per weakness that a share would hand to its guests: what to send, what it means.

A database's module is a conversation (dialogue.py), which knows no socket; asking.py holds it
through the way guests take. vagrant_key.py asks the SSH server itself. What a machine answers
is a peer's word: bounded, and what is not understood is no danger but a note.
"""
