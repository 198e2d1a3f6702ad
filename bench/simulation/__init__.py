"""A discrete-event simulation of routing and batching, for more workers than one machine has."""
