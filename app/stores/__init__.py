"""State that several API servers could share, behind one asynchronous interface."""
