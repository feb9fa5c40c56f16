"""Who may share by this relay: users, and the tokens that their shares show."""
