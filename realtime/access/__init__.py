"""Authentication, authorization, rate limits and revocation."""
