"""What goes over a network: clients, keys, addresses, answers, and trying again. One copy of each."""
