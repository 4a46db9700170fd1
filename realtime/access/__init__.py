"""Who may: which site, which user, what he may read, how much he may take, and when that ends."""
