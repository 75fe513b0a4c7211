"""How the embedded world and its model are made."""
