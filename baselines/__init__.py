"""Dense and published alternatives. Plain Keras: nothing here imports hyperkeras."""
