"""Runs in the bench's own Python, in its folder `sites`: what tests need of a site and no endpoint gives.

python inside.py SITE COMMAND [JSON]       prints one line of JSON, the last of the output
python inside.py SITE serve                runs the lines `[COMMAND, ARGUMENTS]` of its input, prints a line for each
"""

import itertools
import json
import math
import random
import sys
import time

import frappe
import frappe.share
from frappe.utils import add_to_date, now_datetime

PEOPLE = {
	"manager": ("System User", ["System Manager"]),
	"reader": ("System User", []),
	"colleague": ("System User", []),
	"visitor": ("Website User", []),
}
CLIENT = "frappe_realtime bench tests"
CONFLICTS = ("1020", "1213")
"""MariaDB's error codes for a conflict of two transactions: a row changed since it was read; a deadlock."""
DELETE_ATTEMPTS = 20


def address(person):
	"""Return the name of a test's user, which no site has by chance."""
	return f"realtime-{person}@bench-test.invalid"


def make_people(password):
	"""Make the users; return for each its name, API key and secret, and a bearer token of the manager."""
	from frappe.utils.password import update_password

	remove_people()
	people = {}
	for person, (user_type, roles) in PEOPLE.items():
		user = frappe.get_doc({"doctype": "User", "email": address(person), "first_name": person.title()})
		user.update({"user_type": user_type, "send_welcome_email": 0, "enabled": 1, "language": "en"})
		if user_type == "System User" and frappe.db.exists("Role", "Desk User"):
			roles = [*roles, "Desk User"]
		for role in roles:
			user.append("roles", {"role": role})
		user.api_key, user.api_secret = frappe.generate_hash(length=15), frappe.generate_hash(length=15)
		user.flags.no_welcome_mail = user.flags.ignore_password_policy = True
		secret = user.api_secret
		user.insert(ignore_permissions=True)
		update_password(user.name, password)
		people[person] = {"name": user.name, "token": f"{user.api_key}:{secret}"}
	people["manager"]["bearer"] = make_bearer(people["manager"]["name"])
	return people


def make_team(users):
	"""Make System Users; return the API key and secret of each."""
	# Otherwise Frappe lets 60 users be made in an hour.
	frappe.flags.in_import = True
	tokens = {}
	for name in users:
		user = frappe.get_doc(
			{"doctype": "User", "email": name, "first_name": name.partition("@")[0].title()}
		)
		user.update({"user_type": "System User", "send_welcome_email": 0, "enabled": 1, "language": "en"})
		for role in ("System Manager", "Desk User"):
			if frappe.db.exists("Role", role):
				user.append("roles", {"role": role})
		user.api_key, user.api_secret = frappe.generate_hash(length=15), frappe.generate_hash(length=15)
		user.flags.no_welcome_mail = user.flags.ignore_password_policy = True
		tokens[name] = f"{user.api_key}:{user.api_secret}"
		user.insert(ignore_permissions=True)
	return tokens


def remove_team(users):
	"""Remove users that make_team has made."""
	for name in users:
		delete("User", name, force=True)
		if contact := frappe.db.get_value("Contact", {"email_id": name}):
			delete("Contact", contact, force=True)


def publish_load(users, doctypes, rate):
	"""Publish events as those of a working day, `rate` in a second, until the process is stopped."""
	from frappe_realtime.overrides import install_overrides

	install_overrides()
	for number in itertools.count():
		# More and fewer of them by turns.
		time.sleep(1 / (rate * (1.2 + math.sin(number / 40 / math.pi))))
		user, doctype = random.choice(users), random.choice(doctypes)
		kind = random.choices(("list_update", "doc_update", "notification", "stock_changed"), (10, 6, 3, 1))[
			0
		]
		if kind == "list_update":
			frappe.publish_realtime(kind, {"doctype": doctype, "name": "1", "user": user}, doctype=doctype)
		elif kind == "doc_update":
			frappe.publish_realtime(kind, {"doctype": "User", "name": user}, doctype="User", docname=user)
		elif kind == "notification":
			frappe.publish_realtime(kind, {}, user=user)
		else:
			frappe.publish_realtime(kind, {"items": [number] * 40})


def make_bearer(user):
	"""Make an OAuth token of a user."""
	client = frappe.get_doc(
		{
			"doctype": "OAuth Client",
			"app_name": CLIENT,
			"scopes": "all",
			"redirect_uris": "http://localhost",
			"default_redirect_uri": "http://localhost",
		}
	).insert(ignore_permissions=True)
	token = frappe.generate_hash(length=30)
	frappe.get_doc(
		{
			"doctype": "OAuth Bearer Token",
			"client": client.name,
			"user": user,
			"scopes": "all",
			"access_token": token,
			"refresh_token": frappe.generate_hash(length=30),
			"expires_in": 3600,
			"expiration_time": add_to_date(now_datetime(), hours=1),
			"status": "Active",
		}
	).insert(ignore_permissions=True)
	return token


def remove_people():
	"""Remove the users and all that they have made."""
	names = [address(person) for person in PEOPLE]
	for doctype, field in (("OAuth Bearer Token", "user"), ("User Permission", "user"), ("Note", "owner")):
		remove_of(doctype, field, names)
	remove_to_dos()
	for name in frappe.get_all("OAuth Client", filters={"app_name": CLIENT}, pluck="name"):
		delete("OAuth Client", name, force=True)
	for name in names:
		frappe.db.delete("Sessions", {"user": name})
		if frappe.db.exists("User", name):
			delete("User", name, force=True)
		if frappe.db.exists("Contact", {"email_id": name}):
			contact = frappe.db.get_value("Contact", {"email_id": name})
			delete("Contact", contact, force=True)


def remove_to_dos():
	"""Remove the ToDos of the users."""
	remove_of("ToDo", "owner", [address(person) for person in PEOPLE])


def remove_of(doctype, field, values):
	"""Remove the documents whose field has one of some values."""
	for name in frappe.get_all(doctype, filters={field: ["in", values]}, pluck="name"):
		delete(doctype, name, force=True)


def enqueue(user, method, arguments):
	"""Let a worker call a method as a user."""
	frappe.set_user(user)
	frappe.enqueue(method, queue="short", **arguments)


def set_role(user, role, has):
	"""Give a user a role, or take it away."""
	document = frappe.get_doc("User", user)
	(document.add_roles if has else document.remove_roles)(role)


def set_share(doctype, name, user, read):
	"""Share a document with a user, and return the name of the share; or do not share it any more."""
	if read:
		return frappe.share.add(doctype, name, user, read=1).name
	frappe.share.remove(doctype, name, user)
	return None


def restrict(user, doctype, name):
	"""Let a user see one document of a DocType only, by a user permission; return its name."""
	permission = {"doctype": "User Permission", "user": user, "allow": doctype, "for_value": name}
	return frappe.get_doc(permission).insert(ignore_permissions=True).name


def delete(doctype, name, force=False):
	"""Delete a document and commit; after a conflict with another transaction (a job of the bench), try again."""
	for remaining in reversed(range(DELETE_ATTEMPTS)):
		try:
			frappe.delete_doc(doctype, name, force=force, ignore_permissions=True)
			frappe.db.commit()
			return
		except Exception as error:
			frappe.db.rollback()
			if not remaining or not any(code in str(error) for code in CONFLICTS):
				raise
			time.sleep(0.1)


def restrict_addresses(user, addresses):
	"""Let a user use the site only from addresses that begin with one of a list; an empty list allows all."""
	document = frappe.get_doc("User", user)
	document.restrict_ip = ",".join(addresses)
	document.save(ignore_permissions=True)


def csrf_token(sid):
	"""Return the CSRF token of a session; empty if it has none yet."""
	session = frappe.cache.hget("session", sid) or {}
	return (session.get("data") or {}).get("csrf_token") or ""


def expire_bearer(token):
	"""Set the expiry of an OAuth token to a minute ago. No event announces it, as none does when a token expires by itself."""
	past = add_to_date(now_datetime(), minutes=-1)
	frappe.db.set_value("OAuth Bearer Token", token, "expiration_time", past)


def make(doctype, fields, name=None):
	"""Insert a document as Administrator, under a name of its own or a given one; return it."""
	document = frappe.get_doc({"doctype": doctype, **fields})
	return document.insert(ignore_permissions=True, set_name=name).name


def change(doctype, name, fields):
	"""Change and save a document, and commit; return the time of the commit, in seconds since 1970."""
	from frappe_realtime.overrides import install_overrides

	install_overrides()
	document = frappe.get_doc(doctype, name)
	document.update(fields)
	document.save(ignore_permissions=True)
	frappe.db.commit()
	return time.time()


def make_owned_doctype(name):
	"""Make a DocType whose documents everyone may read who owns them, and nobody else but the Administrator."""
	rights = {"read": 1, "write": 1, "create": 1}
	frappe.get_doc(
		{
			"doctype": "DocType",
			"name": name,
			"module": "Custom",
			"custom": 1,
			"autoname": "hash",
			"fields": [{"fieldname": "text", "fieldtype": "Data", "label": "Text"}],
			"permissions": [{"role": "All", "if_owner": 1, **rights}],
		}
	).insert(ignore_permissions=True)


def add_field(doctype, fieldname, fieldtype):
	"""Add a custom field to a DocType; return the name of its document."""
	from frappe.custom.doctype.custom_field.custom_field import create_custom_field

	create_custom_field(doctype, {"fieldname": fieldname, "fieldtype": fieldtype, "label": fieldname.title()})
	return frappe.db.get_value("Custom Field", {"dt": doctype, "fieldname": fieldname})


def remove_field(doctype, name):
	"""Remove a custom field that add_field has added, with its column."""
	fieldname = frappe.db.get_value("Custom Field", name, "fieldname")
	frappe.delete_doc("Custom Field", name, force=True)
	frappe.db.commit()
	if fieldname in frappe.db.get_table_columns(doctype):
		frappe.db.sql_ddl(f"alter table `tab{doctype}` drop column `{fieldname}`")


def set_values(doctype, name, fields):
	"""Change a document without saving it, and commit; return the time of the commit, in seconds since 1970."""
	from frappe_realtime.overrides import install_overrides

	install_overrides()
	frappe.get_doc(doctype, name).db_set(fields)
	frappe.db.commit()
	return time.time()


def publish(event, message, room):
	"""Publish an event by Frappe's function, as the app overrides it. Redis has it when this returns."""
	from frappe_realtime.overrides import install_overrides
	from frappe_realtime.publishing.process import outbox

	install_overrides()
	frappe.publish_realtime(event, message, room=room)
	assert outbox().flush(30), "Redis has not received the event"


def renew_keys(user):
	"""Give a user another API secret."""
	document = frappe.get_doc("User", user)
	document.api_secret = frappe.generate_hash(length=15)
	document.save(ignore_permissions=True)
	return f"{document.api_key}:{document.get_password('api_secret')}"


def about():
	"""Return what is installed here, and Frappe's version."""
	return {"version": frappe.__version__, "apps": frappe.get_installed_apps()}


def run(site, command, arguments="{}"):
	"""Run one of the functions above, or with `serve` those that the input names; commit after each."""
	frappe.init(site)
	frappe.connect()
	frappe.set_user("Administrator")
	frappe.flags.mute_emails = True
	lines = ([command, json.loads(arguments)],) if command != "serve" else map(json.loads, sys.stdin)
	for name, named in lines:
		answer = globals()[name](**named)
		frappe.db.commit()
		print("\n" + json.dumps(answer), flush=True)
	frappe.destroy()


run(*sys.argv[1:])
