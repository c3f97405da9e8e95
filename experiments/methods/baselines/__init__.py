"""What others wrote, to compare with: a file each, the package imported only where it is used."""
