"""What a search costs and finds, measured against PEFT and against the same candidates trained one by one."""
