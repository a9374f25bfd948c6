// The engine under test keeps the contract, on whichever database the tests run.
import { openTestDatabase } from '@oncejob/testkit'
import { engineContract } from './engine.contract.ts'

engineContract(openTestDatabase)
