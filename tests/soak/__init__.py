"""A server under fire: many clients, and everything breaks at random."""
