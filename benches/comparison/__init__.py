"""What benches/compare.py is made of: the servers, how they are measured, and the rows of DNS and of HTTP."""
