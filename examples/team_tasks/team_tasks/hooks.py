"""The hooks of this app."""

app_name = "team_tasks"
app_title = "Team Tasks"
app_publisher = "The frappe_realtime authors"
app_description = "Tasks of a team, on a live page"
app_license = "mit"

realtime_shared_editing = {
	"Team Task": {"load": "team_tasks.note.load", "store": "team_tasks.note.store"},
}
