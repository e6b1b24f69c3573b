"""The matrix: families of networks against tasks, with what each costs."""
