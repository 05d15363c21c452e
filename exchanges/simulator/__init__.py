"""A local exchange that speaks the real Backpack and Aster protocols. Run: `__main__`.

One thread, one event loop, one account. A request goes `http` -> `app` (faults, control routes) ->
the protocol's routes (`backpack`, `aster`) -> `venue`, which is the exchange behind both: orders,
one account over all symbols, the shared matching engine. What happens there is told as neutral
events (`events`), which the protocol's streams turn into its own words and `hub` sends.

Only `__main__`, `http`, `websocket`, `server`, `feed` and `credentials` touch the outside world.
"""
