"""The providers' wire formats: what a request asks, what an answer cost, how a refusal is written.

Read ``route.py`` first: it takes a request to its dialect (``openai_chat``, ``openai_responses``,
``anthropic``, ``gemini``), and back with what was decided put in. ``document.py`` reads bodies
strictly and splices them, ``bound.py`` says why the input bound is true, ``meter.py`` counts
answers while they pass, ``usage.py`` reads their figures, ``refusal.py`` writes our own errors.
"""
