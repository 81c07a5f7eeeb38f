"""What a child process needs to go through the proxy: variables, CA, bundle of roots."""
