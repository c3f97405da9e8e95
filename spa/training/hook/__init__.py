"""One file per hook; each is imported when somebody asks for it."""
