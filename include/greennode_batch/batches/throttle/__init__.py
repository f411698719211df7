"""Our own limits on what is at the server at a time, and the queue behind them."""
