"""A model behind an address: servers that speak the Open Inference Protocol (KServe v2)."""
