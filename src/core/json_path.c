/*
 * Values at paths of members. See json_path.h.
 */
#include "postgres.h"

#include "core/json_path.h"

/* False when there is no such member or element. */
static bool
walk(Jsonb *json, const char *path, JsonbValue *found)
{
	JsonbContainer *container = json != NULL ? &json->root : NULL;

	while (container != NULL)
	{
		int			len = strcspn(path, ".");
		JsonbValue *value;

		if (JsonContainerIsObject(container))
			value = getKeyJsonValueFromContainer(container, path, len, NULL);
		else if (JsonContainerIsArray(container) && len > 0 && strspn(path, "0123456789") == len && len < 9)
			value = getIthJsonbValueFromContainer(container, atoi(path));
		else
			return false;
		if (value == NULL)
			return false;
		if (path[len] == '\0')
		{
			*found = *value;
			return true;
		}
		path += len + 1;
		container = value->type == jbvBinary ? value->val.binary.data : NULL;
	}
	return false;
}

Jsonb *
mv_json_at(Jsonb *json, const char *path)
{
	JsonbValue	value;

	return walk(json, path, &value) && value.type != jbvNull ? JsonbValueToJsonb(&value) : NULL;
}

char *
mv_json_print(Jsonb *json)
{
	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

char *
mv_json_text(Jsonb *json, const char *path)
{
	JsonbValue	value;

	if (!walk(json, path, &value) || value.type == jbvNull)
		return NULL;
	if (value.type == jbvString)
		return pnstrdup(value.val.string.val, value.val.string.len);
	return mv_json_print(JsonbValueToJsonb(&value));
}

int
mv_json_int(Jsonb *json, const char *path, int otherwise)
{
	char	   *text = mv_json_text(json, path);
	char	   *end;
	long		number;

	if (text == NULL)
		return otherwise;
	errno = 0;
	number = strtol(text, &end, 10);
	return errno != 0 || end == text || *end != '\0' || number != (int) number ? otherwise : (int) number;
}

int
mv_json_length(Jsonb *json, const char *path)
{
	JsonbValue	value;

	if (!walk(json, path, &value) || value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data))
		return 0;
	return JsonContainerSize(value.val.binary.data);
}
