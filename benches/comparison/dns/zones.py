"""Names and places that the rows of DNS and the servers' configurations share."""
ZONE = "cdn.bench.test"
HOST = f"www.{ZONE}"
SIGNED = "signed.bench.test"
POPS = {"fra": ("192.0.2.10", (50.03, 8.57)),
        "iad": ("192.0.2.20", (38.95, -77.45)),
        "sin": ("192.0.2.30", (1.36, 103.99))}
