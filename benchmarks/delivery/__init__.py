"""What of what is published reaches stock clients whose connections drop, and whose server and Redis restart."""
