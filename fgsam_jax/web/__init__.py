"""A page in the browser over a gallery: `tools/serve.py` starts it.

- `app`: its addresses and what they answer.
- `asked`, `shown`: what a request asks for, and what is told of crops and matches.
- `images`: what is sent or of the gallery, decoded; `worker`: the one thread that computes.
- `guard`: who may ask, what every answer carries, and how a refusal reads.
- `static`: the page itself.
"""
