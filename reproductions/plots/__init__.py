"""Pictures that several tasks share."""
