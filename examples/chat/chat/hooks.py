"""What Frappe is told about this app. Handlers need no entry: their place is enough."""

app_name = "chat"
app_title = "Chat"
app_publisher = "The frappe_realtime authors"
app_description = "Chat beside any document"
app_license = "mit"
