"""What breaks around the daemon, each with what must then be true. Real servers, a real disk, a real process."""
