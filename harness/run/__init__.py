"""One scenario's performance and accuracy tests, and the result that they leave."""
