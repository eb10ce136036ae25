"""What an answer is and how it is scored."""
