"""The npm packages of `client/`, without a browser; tests/browser/test_packages.py has them in pages."""
