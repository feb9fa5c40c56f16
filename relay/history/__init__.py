"""Who shared what, when, until when, and who came: kept in the relay's state directory."""
