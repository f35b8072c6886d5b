"""What the commands share: options, exit status, output."""
