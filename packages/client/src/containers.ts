// Containers: jars that Java workers load at run time.
import type { Container, ContainerDeployed, ContainerDetail } from '@oncejob/protocol'
import type { AppScope } from './app-scope.ts'
import type { CallOptions, Caller, MutationOptions, Paged } from './call.ts'

export interface ContainersApi {
  list(options?: CallOptions): Paged<Container>
  /** The container, and for each live Java worker whether it has loaded it. */
  get(id: number, options?: CallOptions): Promise<ContainerDetail>
  /** Stores the bytes of a jar as the container of this name. Workers are not told: see `deploy`. */
  upload(name: string, jar: Uint8Array, options?: MutationOptions): Promise<Container>
  /** Tells the live Java workers to load it; whether they did is said by `get`. */
  deploy(id: number, options?: MutationOptions): Promise<ContainerDeployed>
  /** Deletes it and tells the workers to drop it. Refused with CONTAINER_IN_USE while jobs load from it. */
  delete(id: number, options?: MutationOptions): Promise<void>
}

const containers = '/api/v1/containers'

export const createContainers = (caller: Caller, scope: AppScope): ContainersApi => {
  const at = (id: number, more = ''): string => scope.path(`${containers}/${id}${more}`)
  return {
    list: (options) => caller.list(containers, scope.query({}), options),
    get: (id, options) => caller.json({ kind: 'read', method: 'GET', path: at(id), options }),
    upload: (name, bytes, options) =>
      caller.json({
        kind: 'mutation',
        method: 'POST',
        path: containers,
        query: scope.query({ name }),
        raw: { type: 'application/java-archive', bytes },
        options,
      }),
    deploy: (id, options) => caller.json({ kind: 'mutation', method: 'POST', path: at(id, '/deploy'), options }),
    delete: (id, options) => caller.done({ kind: 'mutation', method: 'DELETE', path: at(id), options }),
  }
}
