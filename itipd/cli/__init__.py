"""The commands. The only room that constructs things; each group of commands is a module, imported when it is used."""
