/*
 * Look-up of the extension's own objects. The only relcache callback of the
 * library is here (a backend has room for ten): it just flips flags.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "core/catalog.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(musicverse_invalidate_relation);

uint64		mv_endpoints_generation = 1;
uint64		mv_roles_generation = 1;
uint64		mv_routes_generation = 1;
uint64		mv_description_generation = 1;

static MvCatalog catalog;
static bool catalog_valid = false;

/* Never raises, never looks anything up. */
static void
relation_changed(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == catalog.endpoints)
	{
		catalog_valid = false;
		mv_endpoints_generation++;
	}
	if (relid == InvalidOid || relid == catalog.exposed_roles || relid == catalog.endpoints)
		mv_roles_generation++;
	if (relid == InvalidOid || relid == catalog.routes || relid == catalog.api_versions || relid == catalog.request_scopes ||
		relid == catalog.endpoints)
		mv_routes_generation++;
	if (relid == InvalidOid || relid == catalog.routes || relid == catalog.api_schemas || relid == catalog.event_types ||
		relid == catalog.endpoints)
		mv_description_generation++;
}

static void
roles_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	mv_roles_generation++;
}

void
mv_catalog_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, roles_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, roles_changed, (Datum) 0);
}

/* _invalidate_relation(): a trigger on tables that C code keeps in memory, in each process until it is told */
Datum
musicverse_invalidate_relation(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("_invalidate_relation() is a trigger function")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

/* The owner of the extension; pg_extension has no syscache. */
static Oid
extension_owner(Oid extension)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			owner = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return owner;
}

const MvCatalog *
mv_catalog_try(void)
{
	MvCatalog	found = {0};

	if (catalog_valid)
		return &catalog;

	found.extension = get_extension_oid("musicverse", true);
	if (!OidIsValid(found.extension))
		return NULL;
	found.owner = extension_owner(found.extension);
	found.schema = get_namespace_oid(MV_SCHEMA, true);
	if (!OidIsValid(found.schema))
		return NULL;

	found.accounts = get_relname_relid("accounts", found.schema);
	found.accounts_pkey = get_relname_relid("accounts_pkey", found.schema);
	found.events = get_relname_relid("events", found.schema);
	found.event_log = get_relname_relid("event_log", found.schema);
	found.deliveries = get_relname_relid("deliveries", found.schema);
	found.attempts = get_relname_relid("webhook_attempts", found.schema);
	found.endpoints = get_relname_relid("webhook_endpoints", found.schema);
	found.endpoints_user_idx = get_relname_relid("webhook_endpoints_user_id_idx", found.schema);
	found.tiers = get_relname_relid("tiers", found.schema);
	found.tiers_pkey = get_relname_relid("tiers_pkey", found.schema);
	found.api_keys = get_relname_relid("api_keys", found.schema);
	found.api_keys_hash_idx = get_relname_relid("api_keys_key_hash_key", found.schema);
	found.exposed_roles = get_relname_relid("exposed_roles", found.schema);
	found.quota_usage = get_relname_relid("quota_usage", found.schema);
	found.quota_usage_pkey = get_relname_relid("quota_usage_pkey", found.schema);
	found.routes = get_relname_relid("routes", found.schema);
	found.request_scopes = get_relname_relid("request_scopes", found.schema);
	found.api_schemas = get_relname_relid("api_schemas", found.schema);
	found.event_types = get_relname_relid("event_types", found.schema);
	found.api_versions = get_relname_relid("api_versions", found.schema);
	found.idempotency_keys = get_relname_relid("idempotency_keys", found.schema);
	found.idempotency_keys_pkey = get_relname_relid("idempotency_keys_pkey", found.schema);

	/* within CREATE EXTENSION not everything may be there yet */
	if (!OidIsValid(found.accounts) || !OidIsValid(found.accounts_pkey) || !OidIsValid(found.events) || !OidIsValid(found.event_log) ||
		!OidIsValid(found.deliveries) || !OidIsValid(found.attempts) ||
		!OidIsValid(found.endpoints) || !OidIsValid(found.endpoints_user_idx) ||
		!OidIsValid(found.tiers) || !OidIsValid(found.tiers_pkey) || !OidIsValid(found.api_keys) ||
		!OidIsValid(found.api_keys_hash_idx) || !OidIsValid(found.exposed_roles) ||
		!OidIsValid(found.quota_usage) || !OidIsValid(found.quota_usage_pkey) ||
		!OidIsValid(found.routes) || !OidIsValid(found.request_scopes) || !OidIsValid(found.api_versions) ||
		!OidIsValid(found.idempotency_keys) || !OidIsValid(found.idempotency_keys_pkey))
		return NULL;

	catalog = found;
	catalog_valid = true;
	return &catalog;
}

const MvCatalog *
mv_catalog(void)
{
	const MvCatalog *result = mv_catalog_try();

	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"musicverse\" is not created in this database"),
				 errhint("Run CREATE EXTENSION musicverse.")));
	return result;
}

Oid
mv_catalog_lock_extension(void)
{
	Oid			extension = get_extension_oid("musicverse", true);
	Oid			locked = InvalidOid;

	/* whoever held the lock may have replaced it; from 18 on what we saw first may be from a cache */
	while (OidIsValid(extension) && extension != locked)
	{
		locked = extension;
		LockDatabaseObject(ExtensionRelationId, locked, 0, AccessShareLock);
		AcceptInvalidationMessages();
		extension = get_extension_oid("musicverse", true);
	}
	return extension;
}

AttrNumber
mv_attnum(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && namestrcmp(&attribute->attname, name) == 0)
			return i + 1;
	}
	elog(ERROR, "column \"%s\" is missing", name);
}
