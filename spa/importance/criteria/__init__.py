"""One file per criterion, in a folder per family; each is imported when somebody asks for it."""
